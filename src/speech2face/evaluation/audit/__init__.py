"""For whom a model is wrong: numbers by group with corrected tests, calibration, stability, a block for the card."""
