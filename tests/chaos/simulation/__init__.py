"""The whole system in one thread: driver, lanes, producers and trainers as they are, on a clock and a Ray of our own.

Every place where a real process could be overtaken (a lock, a wait, a call to another actor or to Redis, a file that is
made durable) is a point at which a seeded scheduler picks who goes on, and at which a process may die, freeze, or go on
although it was ended. A seed is a schedule: it runs the same way each time.

Real are all classes of `cluster` and `shared`, Redis with its scripts (but for the line that reads the clock), and the
files. Of our own are Ray, threads, clock, the language model and the SAE.
"""
