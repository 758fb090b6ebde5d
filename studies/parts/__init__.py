"""Parts of studies that stand beside the one module that declares a paper: its claims, a long family of experiments."""
