"""The frozen base: found, loaded, quantised, split over processes, its layers fused."""
