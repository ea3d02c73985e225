# The service with the shipped model. No training tools, no compiler, no root.
FROM python:3.11-slim

WORKDIR /app
COPY requirements/serve.txt requirements/serve.txt
RUN pip install --no-cache-dir --requirement requirements/serve.txt
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY training training
COPY models models
COPY labels/codebook.json labels/codebook.json
RUN pip install --no-cache-dir --no-deps --no-build-isolation . \
    && useradd --create-home --uid 10001 paraframe \
    && chown -R paraframe models labels
USER paraframe

# The container's own network is private: what reaches it is decided by the port that is published.
ENV HOST=0.0.0.0 PORT=8000 PRIVATE_NETWORK=1
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
CMD ["python", "-m", "service"]
