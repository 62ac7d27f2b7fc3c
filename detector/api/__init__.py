"""HTTP routes that stand beside the dashboard: pictures, uploads."""
