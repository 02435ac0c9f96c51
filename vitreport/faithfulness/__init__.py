"""Every metric: importing this package registers them, in the order in which reports show them."""

from vitreport.faithfulness import relevance_gain as relevance_gain  # isort: skip
from vitreport.faithfulness import black_pixels as black_pixels  # isort: skip
