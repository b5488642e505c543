"""What decides: no await, no clock, no network, no disk. Time and randomness come in as arguments."""
