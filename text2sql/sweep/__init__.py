"""The same experiment with other values of some keys, several seeds above all: run, gathered, and compared."""
