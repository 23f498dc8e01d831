"""Images on disk: the image-file format and the datasets that read it. Loads no torch."""
