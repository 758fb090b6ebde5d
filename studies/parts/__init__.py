"""Parts of studies that are too long for the one module that declares a paper; they hold no study of their own."""
