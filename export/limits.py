"""What a bundle must reach to be published, and on how much it is measured."""

from enfold.model import BATCH

COSINE = 0.99999  # of an fp32 vector to the trained encoder's, and of a vector alone to itself in a batch
# Length of the difference of a raw embedding, in units of the embedding's: what a cosine cannot see. Rounding makes
# 1e-6 of it in MiniLM and in small ViTs; layer norms with epsilon 1e-5 instead of 1e-6 or 1e-12 make 6e-5 to 8e-4.
DIFFERENCE = 2e-5
# Largest difference of tokens and logits, in units of their root mean square. Rounding: 2e-5 in MiniLM; 4e-4 in a 3-D
# U-Net, whose convolutions ONNX Runtime sums up less exactly than torch (which is 4e-5 from double precision).
MAX_ABS = 1e-3
ALONE_COSINE = 0.999  # of another variant's vector alone and in a batch

RECALL, NEIGHBOURS, TIE = 0.98, 10, 1e-4
AGREEMENT = 0.995  # of most probable labels
TASK_POINTS = 0.005  # by which a task's first figure may move

# Root mean square distance of unit vectors from their mean: 0 if all are one, 1 if they point everywhere.
SPREAD = 0.01
RANK = 2.0  # effective rank (Garrido et al. 2023, RankMe, arXiv:2210.02885)

BATCHES = (1, 2, 7, BATCH)  # one, two, an odd number, and the most that is ever run at once
WITNESSES = 64  # items that the trained encoder sees too, one at a time
ANSWERED = 4  # of them that a task with graphs of its own answers
ITEMS = 5000  # items at most whose neighbours are compared
