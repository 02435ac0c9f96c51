"""From what the user names to a catalogue of images, and from a file to pixels."""

from vitreport.images.catalogue import Catalogue, build_catalogue

__all__ = ["Catalogue", "build_catalogue"]
