#!/bin/sh
# Give Stoker a user in RabbitMQ with no more rights than it needs: the queues of its namespace and,
# to publish to them, the default exchange. Run where rabbitmqctl works; asks for a password.
#
#     deploy/rabbitmq/permissions.sh
set -eu
namespace=${1:-stoker}
rabbitmqctl add_vhost stoker
# Without an argument for it, rabbitmqctl reads the password from its input.
rabbitmqctl add_user stoker
rabbitmqctl set_user_tags stoker
rabbitmqctl set_permissions --vhost stoker stoker \
    "^$namespace\\..*" "^($namespace\\..*|amq\\.default)\$" "^$namespace\\..*"
rabbitmqctl delete_user guest || true
