"""How far to trust an answer: calibrations are fitted on labelled images, and measured."""
