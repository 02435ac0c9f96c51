"""Every technique: importing this package registers them, in the order in which reports show them."""

from vitreport.techniques.attention import raw_attention as raw_attention  # isort: skip
from vitreport.techniques.attention import rollout as rollout  # isort: skip
from vitreport.techniques.attention import flow as flow  # isort: skip
from vitreport.techniques.gradient import gradient_rollout as gradient_rollout  # isort: skip
from vitreport.techniques.gradient import generic_attention as generic_attention  # isort: skip
from vitreport.techniques.gradient import attention_grad_cam as attention_grad_cam  # isort: skip
from vitreport.techniques.gradient import token_cam as token_cam  # isort: skip
from vitreport.techniques.gradient import attcat as attcat  # isort: skip
from vitreport.techniques.gradient import legrad as legrad  # isort: skip
from vitreport.techniques.gradient import integrated_attention as integrated_attention  # isort: skip
from vitreport.techniques.gradient import pixel_gradient as pixel_gradient  # isort: skip
from vitreport.techniques.gradient import full_grad as full_grad  # isort: skip
from vitreport.techniques.relevance import transformer_attribution as transformer_attribution  # isort: skip
from vitreport.techniques.relevance import attn_lrp as attn_lrp  # isort: skip
from vitreport.techniques.gradient import integrated_gradients as integrated_gradients  # isort: skip
from vitreport.techniques.gradient import smooth_grad as smooth_grad  # isort: skip
from vitreport.techniques.perturbation import occlusion as occlusion  # isort: skip
from vitreport.techniques.perturbation import rise as rise  # isort: skip
from vitreport.techniques.perturbation import vit_cx as vit_cx  # isort: skip
from vitreport.techniques.attention import class_attention as class_attention  # isort: skip
from vitreport.techniques.attention import qkv as qkv  # isort: skip
from vitreport.techniques.activation import logit_lens as logit_lens  # isort: skip
from vitreport.techniques.activation import token_norms as token_norms  # isort: skip
from vitreport.techniques.control import centre as centre  # isort: skip
from vitreport.techniques.control import random as random  # isort: skip
from vitreport.techniques.control import edges as edges  # isort: skip
