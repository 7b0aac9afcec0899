"""Fused, multi-threaded kernels for the sigmoid and the binary cross-entropy on a CPU."""

from ._backends import set_backend, use_backend
from ._bfloat16 import bfloat16
from ._engine.memory import release_memory
from ._threads import get_num_threads, set_num_threads
from ._warmup import warmup
from .functional import (
    bce_gradient,
    bce_loss,
    bce_loss_gradient,
    bce_with_logits_gradient,
    bce_with_logits_gradient_hessian,
    bce_with_logits_loss,
    bce_with_logits_loss_gradient,
    bce_with_logits_loss_gradient_hessian,
    focal_gradient,
    focal_gradient_hessian,
    focal_loss,
    focal_loss_gradient,
    focal_loss_gradient_hessian,
    log_sigmoid,
    logit,
    sigmoid,
    sigmoid_backward,
    sigmoid_bce,
    sigmoid_clipped_bce,
    softplus,
)
from .layers import (
    Activation_Sigmoid,
    Activation_Sigmoid_Loss_BinaryCrossentropy,
    Loss,
    Loss_BinaryCrossentropy,
)
from .linear import linear_bce_hessian, linear_bce_loss_gradient
from .model_file import load

__version__ = "0.1.0"

__all__ = [
    "Activation_Sigmoid",
    "Activation_Sigmoid_Loss_BinaryCrossentropy",
    "Loss",
    "Loss_BinaryCrossentropy",
    "bce_gradient",
    "bce_loss",
    "bce_loss_gradient",
    "bce_with_logits_gradient",
    "bce_with_logits_gradient_hessian",
    "bce_with_logits_loss",
    "bce_with_logits_loss_gradient",
    "bce_with_logits_loss_gradient_hessian",
    "bfloat16",
    "focal_gradient",
    "focal_gradient_hessian",
    "focal_loss",
    "focal_loss_gradient",
    "focal_loss_gradient_hessian",
    "get_num_threads",
    "linear_bce_hessian",
    "linear_bce_loss_gradient",
    "load",
    "log_sigmoid",
    "logit",
    "release_memory",
    "set_backend",
    "set_num_threads",
    "sigmoid",
    "sigmoid_backward",
    "sigmoid_bce",
    "sigmoid_clipped_bce",
    "softplus",
    "use_backend",
    "warmup",
]
