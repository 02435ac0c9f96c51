"""vitreport: batch explanation reports for Vision Transformers."""
