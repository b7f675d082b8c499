"""Draws docs/images/page*.png: the page of `llava-tools serve`, in a browser, from a real run.

    python docs/make_page_images.py [CHROMIUM]

The embedded model answers. Needs the extras `torch`, `documents`, `serve` and the package
`playwright` with a Chromium: Playwright's own, or the program that is named.
"""

from __future__ import annotations

import ctypes
import io
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pypdfium2
import pypdfium2.raw as raw
import uvicorn
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from llava_tools import Llava
from llava_tools.retrieval import PageIndex
from llava_tools.server.app import create_app
from llava_tools.server.options import ServerOptions

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
TALL, DESKTOP, PHONE = (1280, 980), (1280, 800), (390, 844)
#: Colours of a saved image, enough for flat surfaces, text and heat.
COLOURS = 256


def main() -> None:
    """Start a server, use its page, and save what it shows."""
    program = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        index = f"{folder}/index"
        PageIndex(index).update([write_signs(Path(folder) / "door-signs.pdf")])
        with serve(index) as address:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            save(browser, address, "page", "light", TALL, show_box)
            save(browser, address, "page_documents", "dark", DESKTOP, show_documents)
            save(browser, address, "page_evidence", "light", DESKTOP, show_evidence)
            save(browser, address, "page_phone", "light", PHONE, show_welcome)
            save(browser, address, "page_phone_dark", "dark", PHONE, show_comparison)
            browser.close()


def write_signs(path: Path) -> Path:
    """Write a PDF with a sign on each page, whose text layer has the places of its words."""
    pdf = pypdfium2.PdfDocument.new()
    font = raw.FPDFText_LoadStandardFont(pdf.raw, b"Helvetica-Bold")
    for name, number, left in (("Gate", "38", 85), ("Platform", "5", 115), ("Room", "21", 85)):
        page = pdf.new_page(300, 300)
        for text, size, x, y in ((name, 22, 24, 255), (number, 110, left, 100)):
            line = raw.FPDFPageObj_CreateTextObj(pdf.raw, font, ctypes.c_float(size))
            wide = ctypes.create_string_buffer(f"{text}\0".encode("utf-16-le"))
            raw.FPDFText_SetText(line, ctypes.cast(wide, raw.FPDF_WIDESTRING))
            raw.FPDFPageObj_Transform(line, 1, 0, 0, 1, x, y)
            raw.FPDFPage_InsertObject(page.raw, line)
        raw.FPDFPage_GenerateContent(page.raw)
    pdf.save(path)
    pdf.close()
    return path


@contextmanager
def serve(index: str) -> Iterator[str]:
    """Run a server in a thread; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app = create_app(ServerOptions(index=index), Llava())
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not app.state.service.is_loaded:
            time.sleep(0.1)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def save(
    browser: Browser,
    address: str,
    name: str,
    scheme: Literal["light", "dark"],
    size: tuple[int, int],
    show: Callable[[Page], None],
) -> None:
    """Open the page, do what `show` does, and save the window."""
    width, height = size
    is_phone = size == PHONE
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        is_mobile=is_phone,
        has_touch=is_phone,
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#examples button")
    show(page)
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)
    shot = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    shot.quantize(COLOURS, dither=Image.Dither.NONE).save(IMAGES / f"{name}.png", optimize=True)
    context.close()


def show_welcome(page: Page) -> None:
    """Leave the page as it opens."""


def show_box(page: Page) -> None:
    """Ask about an example, then where something is in it."""
    click_example(page, "What colour is the star?")
    ask(page, "ask", "Where is the circle?")


def show_evidence(page: Page) -> None:
    """Ask about the image of an example, then where in it the answer comes from."""
    click_example(page, "Where is the triangle?")
    ask(page, "ask", "What colour is the triangle?")
    page.get_by_role("button", name="Where in the image?").click()
    page.wait_for_selector(".turn:last-child figure img", timeout=120_000)


def show_documents(page: Page) -> None:
    """Ask the documents."""
    ask(page, "documents", "What number is the gate?")


def show_comparison(page: Page) -> None:
    """Compare two images."""
    click_example(page, "Is the circle the same in both?")


def click_example(page: Page, title: str) -> None:
    """Ask an example and wait for its answer."""
    page.get_by_role("button", name=title).click()
    wait(page)


def ask(page: Page, mode: str, question: str) -> None:
    """Ask in a mode and wait for the answer."""
    page.locator(f"input[value={mode}]").check(force=True)
    page.fill("#question", question)
    page.press("#question", "Enter")
    wait(page)


def wait(page: Page) -> None:
    """Wait until the last turn has its answer."""
    page.wait_for_selector(".turn:last-child .tools:not([hidden])", timeout=120_000)


if __name__ == "__main__":
    main()
