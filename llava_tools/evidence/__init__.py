"""Evidence maps: which part of an image an answer depends on.

Blocks of the image's tokens are left out, and the answer is scored again without each (`blocks` has
which, `measuring` the scores). What the log-probability falls by without a block is how much the
answer depends on it; an `EvidenceMap` holds that for each cell of the grid of image tokens.
"""

from llava_tools.evidence.evidence_map import EvidenceMap
from llava_tools.evidence.measuring import ameasure, check_image_index, measure

__all__ = ["EvidenceMap", "ameasure", "check_image_index", "measure"]
