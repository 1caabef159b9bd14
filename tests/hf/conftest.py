"""One thread: tensors this small gain nothing from more, and results do not depend on the machine's cores."""

import torch

torch.set_num_threads(1)
