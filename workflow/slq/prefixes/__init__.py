"""What of images does not change while a method trains, kept so that it is computed once (`training.prefix`)."""
