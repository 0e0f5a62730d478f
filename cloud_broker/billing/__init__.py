"""What a person has paid for, as Stripe tells it."""
