# The dashboard and the HTTP API on a machine without a graphics card. README, "In a container", says how to use it.
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    DETECTOR_DATA_DIR=/data \
    HF_HOME=/data/hub

WORKDIR /app

# Before the code: a change of the code alone installs nothing anew. PyTorch's own index has its builds for the CPU, which
# are far smaller; what they need comes with the second command.
COPY requirements.txt constraints.txt ./
RUN python -m pip install --no-deps -c constraints.txt --index-url https://download.pytorch.org/whl/cpu torch torchvision \
    && python -m pip install -c constraints.txt -r requirements.txt

# What .dockerignore lets through. Compiled now: the user below may not write here.
COPY . .
RUN python -m compileall -q detector pages streamlit_app.py \
    && useradd --uid 10001 --create-home detector \
    && install -d -o detector -g detector /data

# By number, so that a cluster can see that it is not root.
USER 10001:10001
VOLUME /data
EXPOSE 8501

HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client; asked = http.client.HTTPConnection('127.0.0.1', 8501, timeout=5); asked.request('GET', '/healthz'); raise SystemExit(asked.getresponse().status != 200)"]

# Every command of the command line: docker run --rm -it IMAGE password
ENTRYPOINT ["python", "-m", "detector"]
# On every address of the container, which the app refuses without DETECTOR_PASSWORD_HASH (or what else README,
# "On a network", names).
CMD ["serve", "--address", "0.0.0.0", "--port", "8501"]
