"""The rehearsal: a simulated world with planted truth, its people and its base model.

Nothing here is evidence about real models or real literature. It lets the whole pipeline run
offline on two cores, where what it should find, and what it must not find, is known.
"""
