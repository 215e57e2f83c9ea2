# Made by runyard for one job; give the job a Dockerfile.runyard to have it your way.
FROM python:3.11-slim
USER 0:0
RUN mkdir -p /home/runyard/.cache \
    && touch /etc/passwd \
    && if [ -n "$(tail -c 1 /etc/passwd)" ]; then echo >> /etc/passwd; fi \
    && echo 'runyard:x:1000:0:runyard:/home/runyard:/bin/sh' >> /etc/passwd \
    && chown -R 1000:0 /home/runyard && chmod -R g=u /home/runyard
WORKDIR /home/runyard
RUN PYTHON=$(command -v python3 || command -v python) \
    || { echo 'runyard: the base image has no Python' >&2; exit 1; }; \
    "$PYTHON" -m venv --system-site-packages /env
COPY install/ /home/runyard/
RUN --mount=type=cache,id=t-pip,target=/var/cache/runyard/pip \
    --mount=type=cache,id=t-uv,target=/var/cache/runyard/uv \
    --mount=type=secret,id=netrc,required=true \
    export PIP_CACHE_DIR=/var/cache/runyard/pip UV_CACHE_DIR=/var/cache/runyard/uv NETRC=/run/secrets/netrc; \
    export UV_PROJECT_ENVIRONMENT=/env UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy \
    UV_NO_PROGRESS=1 \
    && /env/bin/python -m venv /opt/uv \
    && /opt/uv/bin/python -m pip install --disable-pip-version-check --no-input 'uv>=0.5,<1' \
    && /opt/uv/bin/uv sync --frozen --no-dev --inexact --no-install-project \
    && rm -rf /opt/uv
COPY --chown=1000:0 src/ /home/runyard/
ENV PATH=/env/bin:${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin} VIRTUAL_ENV=/env PYTHONUNBUFFERED=1 HOME=/home/runyard
USER 1000:0
CMD []
ENTRYPOINT ["python", "train.py"]
