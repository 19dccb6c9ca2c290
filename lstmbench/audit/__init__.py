"""Training done again by the reference, in a process that has never loaded a plugin.

Only a plugin's own model is trained by the plugin's own reference.

Needs the standard library and NumPy only. ``draws`` says what is audited, from a nonce; ``replay``
trains; ``comparison`` says how far an honest result may be off; ``session`` is the process.
"""
