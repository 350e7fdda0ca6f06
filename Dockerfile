# The platform without embedded servers; docker-compose.yml shows what it runs beside.
# Not built in our CI, which has no container engine: read it as a description that is kept short
# enough to be checked by eye.
FROM python:3.12-slim

RUN useradd --system --uid 10001 --create-home link && install -d -o link -m 0700 /home/link/data
WORKDIR /app
COPY requirements.lock .
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY . .

USER link
ENV PYTHONUNBUFFERED=1 LINK_DATA_DIR=/home/link/data
VOLUME /home/link/data
ENTRYPOINT ["python", "-m", "interfaces"]
CMD ["serve"]
