"""From the bytes of one file to header and pixels, within bounds of time and memory."""
