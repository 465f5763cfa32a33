"""Read what is and was stored: runs, changes, records at a moment; retention."""
