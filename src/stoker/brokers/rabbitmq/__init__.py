"""RabbitMQ as a broker: `RabbitBroker`."""

from stoker.brokers.rabbitmq.broker import RabbitBroker

__all__ = ["RabbitBroker"]
