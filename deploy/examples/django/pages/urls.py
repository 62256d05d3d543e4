from django.urls import path

from pages.views import HomeView, health

app_name = "pages"

urlpatterns = [
    path("", HomeView.as_view(), name="home"),
    path("health", health, name="health"),
]
