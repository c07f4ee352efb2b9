"""What a checkpoint hears of sounds that nobody trained it on, through the real engine."""
