"""Every technique: importing this package registers them, in the order in which reports show them."""

from vitreport.techniques.attention import raw_attention as raw_attention  # isort: skip
from vitreport.techniques.attention import rollout as rollout  # isort: skip
from vitreport.techniques.gradient import gradient_rollout as gradient_rollout  # isort: skip
from vitreport.techniques.attention import class_attention as class_attention  # isort: skip
from vitreport.techniques.attention import qkv as qkv  # isort: skip
from vitreport.techniques.control import centre as centre  # isort: skip
from vitreport.techniques.control import random as random  # isort: skip
