"""What a bundle must reach to be published, and on how much it is measured."""

from enfold.model import BATCH

COSINE = 0.99999  # of an fp32 vector to the trained encoder's, and of a vector alone to itself in a batch
# Largest difference of tokens and logits, in units of their root mean square. Rounding alone makes 1e-5 of it; a layer
# norm with a wrong epsilon moves tokens further, and no cosine sees it.
MAX_ABS = 1e-4
ALONE_COSINE = 0.999  # of another variant's vector alone and in a batch

RECALL, NEIGHBOURS, TIE = 0.98, 10, 1e-4
AGREEMENT = 0.995  # of most probable labels
TASK_POINTS = 0.005  # by which a task's first figure may move

# Root mean square distance of unit vectors from their mean: 0 if all are one, 1 if they point everywhere.
SPREAD = 0.01
RANK = 2.0  # effective rank (Garrido et al. 2023, RankMe, arXiv:2210.02885)

BATCHES = (1, 2, 7, BATCH)  # one, two, an odd number, and the most that is ever run at once
WITNESSES = 64  # items that the trained encoder sees too, one at a time
ITEMS = 5000  # items at most whose neighbours are compared
