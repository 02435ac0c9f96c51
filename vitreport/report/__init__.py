"""The report wing's writers: a run folder in, a site and a PDF out. No torch."""
