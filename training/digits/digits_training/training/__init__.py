"""From sounds to a checkpoint: what is learnt, in which order, by which network."""
