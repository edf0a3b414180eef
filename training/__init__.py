"""From recipes to encoders: data, views, encoders, methods, adaptation, evaluation, and runs that tell their story."""
