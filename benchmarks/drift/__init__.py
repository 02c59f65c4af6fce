"""How good the drift detection is: false alarms without drift, delay and recall with it, beside other libraries."""
