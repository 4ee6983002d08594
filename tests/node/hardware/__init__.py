"""Files of boards as shown by their kernels, and a function that writes them as a tree."""
