"""From an alert to a better version: the brakes, the steps, and what is kept of every attempt."""
