"""A simulated experiment: rankers choose what users see, users answer by p*, rankers learn from what they showed."""
