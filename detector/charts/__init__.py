"""Figures of the Metrics page, and the colours and style that all of them share."""
