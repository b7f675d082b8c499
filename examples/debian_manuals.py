"""Real manuals with figures, from Debian packages, for examples and benchmarks that read PDFs.

python examples/debian_manuals.py manuals/
"""

import gzip
import subprocess
import sys
import tempfile
from pathlib import Path

#: Packages, and the PDFs to extract from them.
PACKAGES = {
    "graphviz-doc": ["dotguide", "neatoguide", "smyrna", "dottyguide", "libguide"],
    "expeyes-doc-en": ["en-eyesj", "en-eyesj-progman"],
}


def get_manuals(folder: Path, packages: dict[str, list[str]] = PACKAGES) -> Path:
    """Download missing manuals of packages into a folder; needs Debian or a derivative."""
    folder.mkdir(parents=True, exist_ok=True)
    for package, names in packages.items():
        if all((folder / f"{name}.pdf").is_file() for name in names):
            continue
        with tempfile.TemporaryDirectory() as work:
            try:
                subprocess.run(["apt-get", "download", "-q", package], cwd=work, check=True)
                (archive,) = Path(work).glob("*.deb")
                subprocess.run(["dpkg-deb", "-x", archive.name, "."], cwd=work, check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                raise SystemExit(
                    f"Cannot download {package} ({error}): use your own PDFs."
                ) from None
            for name in names:
                (path,) = [*Path(work).rglob(f"{name}.pdf"), *Path(work).rglob(f"{name}.pdf.gz")]
                data = path.read_bytes()
                unpacked = gzip.decompress(data) if path.suffix == ".gz" else data
                (folder / f"{name}.pdf").write_bytes(unpacked)
    return folder


if __name__ == "__main__":
    print(get_manuals(Path(sys.argv[1] if len(sys.argv) > 1 else "manuals")))
