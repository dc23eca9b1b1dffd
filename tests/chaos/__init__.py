"""Workers killed and frozen at every step, and the judgement of what that did, from outside."""
