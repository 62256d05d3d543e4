from django.http import JsonResponse
from django.urls import path
from orders.models import Order


def health(request):
    # By way of a column that the last migration of the app makes: an app on an older schema is not healthy.
    response = JsonResponse({"orders": Order.objects.filter(state="new").count()})
    response["Content-Length"] = len(response.content)
    return response


urlpatterns = [path("health", health)]
