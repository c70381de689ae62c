"""The commands of ``cqa`` by group: each adds itself to the parser and says what it did."""
