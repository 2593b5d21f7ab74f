"""One file per question: claims of the source article, measured. ``python -m experiments list``."""
