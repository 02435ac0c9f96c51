"""What a PDF says of itself: that it is PDF/A-3a and PDF/UA-1 at once, and when it was made."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from weasyprint.document import DocumentMetadata

from vitreport.errors import SettingsError

VARIANT = "pdf/a-3a"
"""WeasyPrint writes this one; the PDF/UA identification is added here."""

_CLOSING = b"</rdf:RDF>"

_PDF_UA = b"""
<rdf:Description xmlns:pdfuaid="http://www.aiim.org/pdfua/ns/id/" rdf:about="" pdfuaid:part="1" />
<rdf:Description rdf:about=""
    xmlns:pdfaExtension="http://www.aiim.org/pdfa/ns/extension/"
    xmlns:pdfaSchema="http://www.aiim.org/pdfa/ns/schema#"
    xmlns:pdfaProperty="http://www.aiim.org/pdfa/ns/property#">
  <pdfaExtension:schemas><rdf:Bag><rdf:li rdf:parseType="Resource">
    <pdfaSchema:schema>PDF/UA identification schema</pdfaSchema:schema>
    <pdfaSchema:namespaceURI>http://www.aiim.org/pdfua/ns/id/</pdfaSchema:namespaceURI>
    <pdfaSchema:prefix>pdfuaid</pdfaSchema:prefix>
    <pdfaSchema:property><rdf:Seq><rdf:li rdf:parseType="Resource">
      <pdfaProperty:name>part</pdfaProperty:name>
      <pdfaProperty:valueType>Integer</pdfaProperty:valueType>
      <pdfaProperty:category>internal</pdfaProperty:category>
      <pdfaProperty:description>Part of ISO 14289 that the document conforms to</pdfaProperty:description>
    </rdf:li></rdf:Seq></pdfaSchema:property>
  </rdf:li></rdf:Bag></pdfaExtension:schemas>
</rdf:Description>
"""
"""PDF/A wants every property that it does not know described by an extension schema."""


class FiledMetadata(DocumentMetadata):  # type: ignore[misc]  # WeasyPrint has no type hints
    """The metadata of a document that is archived and accessible at once."""

    @classmethod
    def of(cls, metadata: DocumentMetadata) -> FiledMetadata:
        """Takes over what WeasyPrint read from the document's head."""
        filed = cls()
        filed.__dict__.update(metadata.__dict__)
        return filed

    def generate_rdf_metadata(self, variant: str, version: int, conformance: str) -> bytes:
        """The XMP description, with the PDF/UA identification in it."""
        described: bytes = super().generate_rdf_metadata(variant, version, conformance)
        return described.replace(_CLOSING, _PDF_UA + _CLOSING)


def document_date() -> datetime | None:
    """The date of the document, from ``SOURCE_DATE_EPOCH``; None where it is not set.

    The clock is never asked, so that equal runs give equal documents.

    Raises:
        SettingsError: ``SOURCE_DATE_EPOCH`` is no number of seconds.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is None or not given.strip():
        return None
    try:
        return datetime.fromtimestamp(int(given), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise SettingsError(
            f"SOURCE_DATE_EPOCH is '{given}'; it must be a whole number of seconds since 1970-01-01"
        ) from error


UNDATED = datetime(1980, 1, 1, tzinfo=UTC)
"""An attachment must have a date; this is what one gets in a document without a date."""
