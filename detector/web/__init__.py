"""What guards and serves the dashboard's own server: who comes in, what may be sent, pictures, uploads, exports."""
