"""How a trial's worker is reached. :mod:`.channel` is the interface, :mod:`.local` a child."""
