"""Views: augmented copies of one item. Every draw comes from the generator that is passed in."""
