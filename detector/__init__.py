"""Build, judge and use detectors of AI-generated images. Plain Python: nothing here imports Streamlit."""
