"""What a judge is worth: accuracy, calibration, control texts."""
