"""What the model hears in training and evaluation: voices, words, noise, rooms and lines."""
