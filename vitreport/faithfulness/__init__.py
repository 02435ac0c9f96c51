"""Every metric: importing this package registers them, in the order in which reports show them."""

from vitreport.faithfulness import relevance_gain as relevance_gain  # isort: skip
from vitreport.faithfulness import black_pixels as black_pixels  # isort: skip
from vitreport.faithfulness import randomisation as randomisation  # isort: skip
from vitreport.faithfulness import class_sensitivity as class_sensitivity  # isort: skip
from vitreport.faithfulness import noise_stability as noise_stability  # isort: skip
from vitreport.faithfulness import grid_pointing as grid_pointing  # isort: skip
from vitreport.faithfulness import mask_agreement as mask_agreement  # isort: skip
from vitreport.faithfulness import completeness as completeness  # isort: skip
from vitreport.faithfulness import concentration as concentration  # isort: skip
